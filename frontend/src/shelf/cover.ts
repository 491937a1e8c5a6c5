/** A number from a title, always the same for the same title (FNV-1a). */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  return hash >>> 0;
}

export interface CoverDesign {
  ground: string;
  shade: string;
  accent: string;
  pattern: "hills" | "moon" | "bands" | "leaves";
  shift: number;
}

/** Ground colours dark enough for the light lettering, each with a fitting accent. */
const INKS: [ground: string, shade: string, accent: string][] = [
  ["#7a2f27", "#5d221d", "#e3a857"],
  ["#1f4a5a", "#163743", "#e0b37a"],
  ["#2f5240", "#223d30", "#d9c07a"],
  ["#3b3566", "#2b274c", "#e58f7b"],
  ["#6b3a56", "#512b41", "#e9b7a0"],
  ["#24405f", "#1a2f47", "#9cc5c9"],
  ["#5f4a22", "#473718", "#e8cf96"],
  ["#374047", "#272e34", "#d98b5f"],
];
const PATTERNS = ["hills", "moon", "bands", "leaves"] as const;

export function designFor(title: string): CoverDesign {
  const hash = hashOf(title);
  const [ground, shade, accent] = INKS[hash % INKS.length]!;
  return { ground, shade, accent, pattern: PATTERNS[(hash >>> 8) % 4]!, shift: (hash >>> 16) % 40 };
}
