import { useEffect, useMemo } from "react";
import { ApiError, savePosition } from "../lib/api";
import type { Position } from "../lib/types";

const QUIET_MS = 700;
const RETRY_MS = 5_000;

/** Saves the last position once the scrolling has paused, and before the page goes away. */
export function createPositionSaver(bookId: string) {
  let pending: Position | null = null;
  let saved: Position | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function flush(keepalive = false) {
    clearTimeout(timer);
    const position = pending;
    pending = null;
    if (!position) return;
    try {
      saved = position;
      await savePosition(bookId, position, keepalive);
    } catch (error) {
      if (saved === position) saved = null;
      if (keepalive || pending || !(error instanceof ApiError && error.temporary)) return;
      pending = position;
      timer = setTimeout(() => void flush(), RETRY_MS);
    }
  }

  function moved(position: Position) {
    const same =
      saved?.chapter === position.chapter && Math.abs(saved.offset - position.offset) < 0.001;
    clearTimeout(timer);
    pending = same ? null : position;
    if (pending) timer = setTimeout(() => void flush(), QUIET_MS);
  }

  return { moved, flush };
}

export function usePositionSaver(bookId: string) {
  const saver = useMemo(() => createPositionSaver(bookId), [bookId]);
  useEffect(() => {
    const leaving = () => void saver.flush(true);
    const hiding = () => document.visibilityState === "hidden" && leaving();
    window.addEventListener("pagehide", leaving);
    document.addEventListener("visibilitychange", hiding);
    return () => {
      window.removeEventListener("pagehide", leaving);
      document.removeEventListener("visibilitychange", hiding);
      void saver.flush();
    };
  }, [saver]);
  return saver;
}
