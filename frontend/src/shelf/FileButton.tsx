import { useRef } from "react";

/** A button that opens the file dialog. */
export function FileButton({ onFiles }: { onFiles: (files: File[]) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button className="primary" onClick={() => input.current?.click()}>
        Add books
      </button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        accept=".txt,.epub"
        aria-label="Book files"
        onChange={(event) => {
          onFiles(Array.from(event.target.files ?? []));
          event.target.value = ""; // so that the same file can be chosen again
        }}
      />
    </>
  );
}
