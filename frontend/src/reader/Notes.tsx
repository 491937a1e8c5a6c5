import { useState, type FormEvent } from "react";
import type { useNotes } from "./useNotes";

interface Props {
  chapter: number;
  state: ReturnType<typeof useNotes>;
}

export function Notes({ chapter, state }: Props) {
  const [drafts, setDrafts] = useState<Record<number, string>>({}); // kept while turning pages
  const text = drafts[chapter] ?? "";
  const setText = (draft: string) => setDrafts({ ...drafts, [chapter]: draft });
  const notes = state.notes.filter((note) => note.chapter === chapter);

  function submit(event: FormEvent) {
    event.preventDefault();
    if (!text.trim()) return;
    state.add(chapter, text.trim());
    setText("");
  }

  return (
    <aside className="notes" aria-labelledby="notes-title">
      <h2 id="notes-title">Margin notes</h2>
      {state.error && (
        <p className="card-error" role="alert">
          {state.error}{" "}
          <button className="link" onClick={state.reload}>
            Try again
          </button>
        </p>
      )}
      <ul aria-live="polite">
        {notes.map((note) => (
          <li key={note.id} className={note.pending ? "note pending" : "note"}>
            {note.text}
            {note.error && (
              <span className="note-error">
                Not saved. {note.error}{" "}
                <button className="link" onClick={() => void state.send(note)}>
                  Try again
                </button>
              </span>
            )}
          </li>
        ))}
      </ul>
      <form onSubmit={submit}>
        <label htmlFor="note-text">{notes.length ? "Another note" : "A note on this chapter"}</label>
        <textarea
          id="note-text"
          rows={3}
          value={text}
          placeholder="What do you want to remember?"
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
          }}
        />
        <button className="quiet" disabled={!text.trim()}>
          Keep note
        </button>
      </form>
    </aside>
  );
}
