import { useEffect, useRef } from "react";
import { readerHref } from "../lib/route";
import { nameOf, type ChapterRef, type Note } from "../lib/types";

interface Props {
  bookId: string;
  chapters: ChapterRef[];
  current: number | undefined;
  notes: Note[];
  onChoose: () => void;
}

export function ChapterList({ bookId, chapters, current, notes, onChoose }: Props) {
  const here = useRef<HTMLAnchorElement>(null);
  const list = useRef<HTMLOListElement>(null);

  // Keep the current chapter in view in a long list, without moving the page itself.
  useEffect(() => {
    if (!here.current || !list.current) return;
    list.current.scrollTop = here.current.offsetTop - list.current.clientHeight / 3;
  }, [current]);

  return (
    <ol ref={list}>
      {chapters.map((chapter) => {
        const { number } = chapter;
        const count = notes.filter((note) => note.chapter === number).length;
        return (
          <li key={number}>
            <a
              ref={number === current ? here : undefined}
              href={readerHref(bookId, number)}
              aria-current={number === current ? "page" : undefined}
              onClick={onChoose}
            >
              <span>{nameOf(chapter)}</span>
              {count > 0 && (
                <span className="note-count" title={count === 1 ? "1 note" : `${count} notes`}>
                  {count}
                </span>
              )}
            </a>
          </li>
        );
      })}
    </ol>
  );
}
