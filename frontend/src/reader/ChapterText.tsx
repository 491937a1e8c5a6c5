import { useEffect, useLayoutEffect, useMemo, useRef } from "react";
import { nameOf, type Chapter } from "../lib/types";
import { isSceneBreak, paragraphsOf } from "./paragraphs";
import { offsetIn, scrollToOffset } from "./scroll";

interface Props {
  chapter: Chapter;
  textSize: number;
  /** Where to begin in this chapter. */
  startAt: number;
  onMove: (offset: number) => void;
}

export function ChapterText({ chapter, textSize, startAt, onMove }: Props) {
  const article = useRef<HTMLElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const offset = useRef(startAt);
  const move = useRef(onMove);
  move.current = onMove;
  const paragraphs = useMemo(() => paragraphsOf(chapter.text, chapter.title), [chapter]);

  // Also when the size of the text changes: the same sentence stays at the top.
  useLayoutEffect(() => {
    if (article.current) scrollToOffset(article.current, offset.current);
  }, [textSize]);

  useLayoutEffect(() => {
    function moved() {
      if (!article.current) return;
      offset.current = offsetIn(article.current);
      move.current(offset.current);
    }
    move.current(offset.current);
    window.addEventListener("scroll", moved, { passive: true });
    return () => window.removeEventListener("scroll", moved);
  }, []);

  // The link that was used to come here may be gone: reading goes on at the heading.
  useEffect(() => {
    if (document.activeElement === document.body) heading.current?.focus({ preventScroll: true });
  }, []);

  return (
    <article ref={article} className="text" aria-labelledby="chapter-title">
      <h1 ref={heading} id="chapter-title" tabIndex={-1}>
        {nameOf(chapter)}
      </h1>
      {paragraphs.map((paragraph, index) =>
        isSceneBreak(paragraph) ? <hr key={index} /> : <p key={index}>{paragraph}</p>,
      )}
      {paragraphs.length === 0 && <p className="loading">This chapter has no text.</p>}
    </article>
  );
}
