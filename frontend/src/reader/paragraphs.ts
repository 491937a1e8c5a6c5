/** A chapter's text as paragraphs: hard-wrapped lines are joined, a repeated heading is dropped. */
export function paragraphsOf(text: string, title: string): string[] {
  const clean = text.replace(/\r\n?/g, "\n").trim();
  const wrapped = /\n[ \t]*\n/.test(clean) || !clean.split("\n").some((line) => line.length > 120);
  const blocks = clean
    .split(wrapped ? /\n(?:[ \t]*\n)+/ : "\n")
    .map((block) => block.replace(/\s+/g, " ").trim())
    .filter(Boolean);
  const same = (a = "") => a.toLowerCase().replace(/[\s.]+$/, "") === title.trim().toLowerCase();
  return blocks.length > 1 && same(blocks[0]) ? blocks.slice(1) : blocks;
}

/** A line of asterisks, dashes or dots between two scenes. */
export const isSceneBreak = (paragraph: string) => /^(?:[*\-–—•·~#]\s*){1,7}$/.test(paragraph);
