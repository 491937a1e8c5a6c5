import { useState } from "react";

const KEY = "bookreader.text-size";
export const LARGEST_SIZE = 4;

function stored(): number {
  try {
    const size = Number(localStorage.getItem(KEY) ?? 1);
    return Number.isInteger(size) && size >= 0 && size <= LARGEST_SIZE ? size : 1;
  } catch {
    return 1; // storage may be forbidden
  }
}

export function useTextSize(): [size: number, change: (by: number) => void] {
  const [size, setSize] = useState(stored);
  const change = (by: number) => {
    const next = Math.min(LARGEST_SIZE, Math.max(0, size + by));
    setSize(next);
    try {
      localStorage.setItem(KEY, String(next));
    } catch {
      // Then it is kept for this page only.
    }
  };
  return [size, change];
}
