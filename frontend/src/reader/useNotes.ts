import { useEffect, useState } from "react";
import { addNote, listNotes, messageOf } from "../lib/api";
import type { Note } from "../lib/types";
import { uuid } from "../lib/uuid";
import { useLoaded } from "./useLoaded";

export interface ShownNote extends Note {
  /** Only for notes that the server does not have yet. */
  pending?: boolean;
  error?: string;
}

export function useNotes(bookId: string) {
  const { value, error, retry } = useLoaded(`notes:${bookId}`, (signal) => listNotes(bookId, signal));
  const [own, setOwn] = useState<ShownNote[]>([]);

  useEffect(() => setOwn([]), [bookId]);

  async function send(note: ShownNote) {
    const update = (change: Partial<ShownNote>) =>
      setOwn((all) => all.map((other) => (other.id === note.id ? { ...other, ...change } : other)));
    update({ pending: true, error: undefined });
    try {
      await addNote(bookId, note);
      update({ pending: false });
    } catch (cause) {
      update({ pending: false, error: messageOf(cause) });
    }
  }

  function add(chapter: number, text: string) {
    const note: ShownNote = { id: uuid(), chapter, text, pending: true };
    setOwn((all) => [...all, note]);
    void send(note);
  }

  const ids = new Set(own.map((note) => note.id));
  const notes: ShownNote[] = [...(value ?? []).filter((note) => !ids.has(note.id)), ...own];
  return { notes, error, reload: retry, add, send };
}
