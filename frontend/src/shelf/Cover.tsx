import { designFor, type CoverDesign } from "./cover";

function Pattern({ pattern, shade, accent, shift }: CoverDesign) {
  switch (pattern) {
    case "hills":
      return (
        <>
          <circle cx={60 + 2 * shift} cy={190} r={34} fill={accent} />
          <path d={`M0 ${225 + shift / 3}C50 190 90 205 130 230S190 250 200 222V300H0z`} fill={shade} />
          <path d="M0 272C60 240 120 262 200 248V300H0z" fill={accent} opacity=".35" />
        </>
      );
    case "moon":
      return (
        <>
          <circle cx="100" cy="216" r={44 + shift / 4} fill={accent} />
          <circle cx={112 + shift / 3} cy="206" r={40 + shift / 4} fill={shade} />
        </>
      );
    case "bands":
      return (
        <>
          {[0, 1, 2, 3, 4].map((n) => (
            <path
              key={n}
              d={`M-10 ${190 + 24 * n}Q${60 + shift} ${160 + 24 * n} 100 ${190 + 24 * n}T210 ${190 + 24 * n}`}
              fill="none"
              stroke={n % 2 ? accent : shade}
              strokeWidth={n % 2 ? 4 : 12}
            />
          ))}
        </>
      );
    case "leaves":
      return (
        <>
          <path d="M100 292V178" stroke={accent} strokeWidth="2" />
          {[0, 1, 2, 3].map((n) => (
            <g key={n} fill={n % 2 ? accent : shade} transform={`translate(100 ${282 - 27 * n})`}>
              <path d={`M0 0C${22 + shift / 3} -4 42 -18 48 -36 24 -36 4 -22 0 0z`} />
              <path d={`M0 0C-${22 + shift / 3} -4 -42 -18 -48 -36 -24 -36 -4 -22 0 0z`} />
            </g>
          ))}
        </>
      );
  }
}

/** A cover drawn from the title. The title is also text beside it, so this one is decoration. */
export function Cover({ title, author }: { title: string; author?: string | null }) {
  const design = designFor(title);
  return (
    <span className="cover" aria-hidden="true">
      <svg viewBox="0 0 200 300" preserveAspectRatio="xMidYMid slice">
        <rect width="200" height="300" fill={design.ground} />
        <Pattern {...design} />
        <rect x="9" y="9" width="182" height="282" fill="none" stroke={design.accent} opacity=".5" />
        <rect width="7" height="300" fill="#000" opacity=".22" />
      </svg>
      <span className={title.length > 36 ? "cover-title long" : "cover-title"}>
        {title.replace(/_/g, "_\u200b")}
      </span>
      {author && <span className="cover-author">{author}</span>}
    </span>
  );
}
