import { useEffect } from "react";

type Turn = (() => void) | undefined;

/** Left and right turn to the previous and next chapter, except while typing. */
export function useArrowKeys(left: Turn, right: Turn) {
  useEffect(() => {
    function pressed(event: KeyboardEvent) {
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if ((event.target as Element | null)?.closest?.("input, textarea, select, [contenteditable]")) return;
      const turn = event.key === "ArrowLeft" ? left : event.key === "ArrowRight" ? right : undefined;
      if (!turn) return;
      event.preventDefault();
      turn();
    }
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  });
}
