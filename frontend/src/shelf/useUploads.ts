import { useCallback, useState } from "react";
import { messageOf, uploadBook } from "../lib/api";
import type { Book } from "../lib/types";

export interface Upload {
  key: number;
  file: File;
  percent: number;
  error: string | null;
}

const LARGEST = 32 * 1024 * 1024;
let nextKey = 1;

/** Why a file need not be sent at all; the server has the last word. */
export function refusal(file: File): string | null {
  if (!/\.(txt|epub)$/i.test(file.name)) return "Only .txt and .epub files can be read.";
  if (file.size > LARGEST) return "The file is larger than 32 MB.";
  if (file.size === 0) return "The file is empty.";
  return null;
}

export function useUploads(onDone: (book: Book) => void) {
  const [uploads, setUploads] = useState<Upload[]>([]);

  const dismiss = useCallback(
    (key: number) => setUploads((all) => all.filter((upload) => upload.key !== key)),
    [],
  );

  const start = useCallback(
    (files: Iterable<File>) => {
      for (const file of files) {
        const key = nextKey++;
        const update = (change: Partial<Upload>) =>
          setUploads((all) => all.map((upload) => (upload.key === key ? { ...upload, ...change } : upload)));
        const error = refusal(file);
        setUploads((all) => [...all, { key, file, percent: 0, error }]);
        if (error) continue;
        uploadBook(file, (percent) => update({ percent })).then(
          (book) => {
            dismiss(key);
            onDone(book);
          },
          (cause: unknown) => update({ error: messageOf(cause) }),
        );
      }
    },
    [dismiss, onDone],
  );

  return { uploads, start, dismiss };
}
