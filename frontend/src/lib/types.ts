export type BookState = "queued" | "parsing" | "ready" | "failed";

export interface Book {
  id: string;
  title: string;
  state: BookState;
  progress: number;
  created_at?: string;
  author?: string | null;
  error?: string | null;
}

export interface Position {
  chapter: number;
  /** How far into the chapter, from 0 to 1. */
  offset: number;
}

export interface ChapterRef {
  number: number;
  title: string;
}

export interface BookDetail extends Book {
  chapters: ChapterRef[];
  position: Position | null;
}

export const nameOf = ({ number, title }: ChapterRef) => title.trim() || `Chapter ${number}`;

export interface Chapter extends ChapterRef {
  text: string;
}

export interface Note {
  id: string;
  chapter: number;
  text: string;
  created_at?: string;
}

export interface ProgressEvent {
  type: "progress";
  book: string;
  state: BookState;
  progress: number;
}
