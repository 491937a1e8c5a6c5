/** Room that the sticky header takes, with some air: the line that counts as "being read". */
const READING_LINE = 72;

/** How far into the text the reader is, from 0 to 1, whatever the window's size. */
export function offsetIn(article: HTMLElement): number {
  const { top, bottom, height } = article.getBoundingClientRect();
  if (height <= 0) return 0;
  if (bottom <= window.innerHeight) return 1;
  return Math.min(1, Math.max(0, (READING_LINE - top) / height));
}

export function scrollToOffset(article: HTMLElement, offset: number): void {
  const { top, height } = article.getBoundingClientRect();
  const start = top + window.scrollY;
  const line = offset >= 1 ? window.innerHeight : READING_LINE;
  window.scrollTo(0, offset > 0 ? Math.max(0, start + offset * height - line) : 0);
}
