import { readerHref } from "../lib/route";
import { nameOf, type ChapterRef } from "../lib/types";

interface Props {
  bookId: string;
  previous: ChapterRef | undefined;
  next: ChapterRef | undefined;
}

export function PageTurn({ bookId, previous, next }: Props) {
  return (
    <nav className="turn" aria-label="Previous and next chapter">
      {previous && (
        <a href={readerHref(bookId, previous.number)} rel="prev">
          <small>← Previous</small> {nameOf(previous)}
        </a>
      )}
      {next ? (
        <a href={readerHref(bookId, next.number)} rel="next">
          <small>Next →</small> {nameOf(next)}
        </a>
      ) : (
        <p className="the-end">The end</p>
      )}
    </nav>
  );
}
