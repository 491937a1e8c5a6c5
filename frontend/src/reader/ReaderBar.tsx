import { shelfHref } from "../lib/route";
import { LARGEST_SIZE } from "./useTextSize";

interface Props {
  title: string | undefined;
  /** How much of the book has been read, from 0 to 1; null while unknown. */
  read: number | null;
  contentsOpen: boolean;
  onContents: () => void;
  textSize: number;
  onTextSize: (by: number) => void;
}

export function ReaderBar({ title, read, contentsOpen, onContents, textSize, onTextSize }: Props) {
  return (
    <header className="bar">
      <a className="bar-back" href={shelfHref} aria-label="Back to the shelf">
        ← <span>Shelf</span>
      </a>
      <span className="bar-title">{title}</span>
      {read !== null && <span className="bar-percent">{Math.round(100 * read)} %</span>}
      <div className="bar-tools">
        <button
          className="quiet bar-contents"
          aria-expanded={contentsOpen}
          aria-controls="contents"
          onClick={onContents}
        >
          Contents
        </button>
        <button className="quiet" aria-label="Smaller text" disabled={textSize === 0} onClick={() => onTextSize(-1)}>
          A<sup>−</sup>
        </button>
        <button
          className="quiet"
          aria-label="Larger text"
          disabled={textSize === LARGEST_SIZE}
          onClick={() => onTextSize(1)}
        >
          A<sup>+</sup>
        </button>
      </div>
      <progress className="bar-progress" aria-label="Read so far" max={1} value={read ?? 0} />
    </header>
  );
}
