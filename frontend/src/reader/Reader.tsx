import { useCallback, useEffect, useRef, useState } from "react";
import { getBook, getChapter } from "../lib/api";
import { readerHref, shelfHref } from "../lib/route";
import { ChapterList } from "./ChapterList";
import { ChapterText } from "./ChapterText";
import { Notes } from "./Notes";
import { PageTurn } from "./PageTurn";
import { ReaderBar } from "./ReaderBar";
import { useArrowKeys } from "./useArrowKeys";
import { useLoaded } from "./useLoaded";
import { useNotes } from "./useNotes";
import { usePositionSaver } from "./usePositionSaver";
import { useTextSize } from "./useTextSize";

export function Reader({ id, chapter: asked }: { id: string; chapter?: number }) {
  const book = useLoaded(`book:${id}`, (signal) => getBook(id, signal));
  const notes = useNotes(id);
  const saver = usePositionSaver(id);
  const [textSize, changeTextSize] = useTextSize();
  const [contentsOpen, setContentsOpen] = useState(false);
  const [offset, setOffset] = useState(0);
  const restored = useRef(false);

  const chapters = book.value?.chapters ?? [];
  const position = book.value?.position;
  const wanted = asked ?? position?.chapter;
  const found = chapters.findIndex((chapter) => chapter.number === wanted);
  const index = found < 0 ? 0 : found;
  const number = chapters[index]?.number;
  const previous = chapters[index - 1];
  const next = chapters[index + 1];

  const text = useLoaded(number === undefined ? null : `${id}/${number}`, (signal) =>
    getChapter(id, number!, signal),
  );

  // The saved place counts for the first chapter shown; after that a chapter opens at its top.
  const startAt = !restored.current && position?.chapter === number ? (position?.offset ?? 0) : 0;
  useEffect(() => {
    if (text.value) restored.current = true;
  }, [text.value]);

  const title = book.value?.title;
  useEffect(() => {
    if (title) document.title = `${title} – BookReader`;
  }, [title]);

  const go = useCallback((to: number) => (window.location.hash = readerHref(id, to)), [id]);
  useArrowKeys(previous && (() => go(previous.number)), next && (() => go(next.number)));

  const error = book.error ?? text.error;
  const unfinished = book.value && book.value.state !== "ready";
  return (
    <div className="reader" data-size={textSize}>
      <ReaderBar
        title={title}
        read={chapters.length ? (index + offset) / chapters.length : null}
        contentsOpen={contentsOpen}
        onContents={() => setContentsOpen(!contentsOpen)}
        textSize={textSize}
        onTextSize={changeTextSize}
      />
      <nav id="contents" className={contentsOpen ? "contents open" : "contents"} aria-label="Chapters">
        <ChapterList
          bookId={id}
          chapters={chapters}
          current={number}
          notes={notes.notes}
          onChoose={() => setContentsOpen(false)}
        />
      </nav>
      <main className="page" aria-busy={!text.value && !error}>
        {error && (
          <p className="notice" role="alert">
            {error}{" "}
            <button className="link" onClick={book.error ? book.retry : text.retry}>
              Try again
            </button>{" "}
            <a href={shelfHref}>Back to the shelf</a>
          </p>
        )}
        {unfinished && !text.value && !text.error && (
          <p className="notice">
            {book.value?.state === "failed"
              ? `This book could not be prepared. ${book.value.error ?? ""}`
              : "This book is still being prepared; it opens here when it is ready."}
          </p>
        )}
        {!error && !unfinished && !text.value && <p className="loading">Turning to the page…</p>}
        {text.value && number !== undefined && (
          <>
            <ChapterText
              key={`${id}/${number}`}
              chapter={text.value}
              textSize={textSize}
              startAt={startAt}
              onMove={(at) => {
                setOffset(at);
                saver.moved({ chapter: number, offset: at });
              }}
            />
            <PageTurn bookId={id} previous={previous} next={next} />
          </>
        )}
      </main>
      {number !== undefined && <Notes chapter={number} state={notes} />}
    </div>
  );
}
