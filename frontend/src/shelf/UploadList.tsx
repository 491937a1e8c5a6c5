import { refusal, type Upload } from "./useUploads";

interface Props {
  uploads: Upload[];
  onDismiss: (key: number) => void;
  onRetry: (upload: Upload) => void;
}

export function UploadList({ uploads, onDismiss, onRetry }: Props) {
  if (uploads.length === 0) return null;
  return (
    <ul className="uploads" aria-label="Uploads">
      {uploads.map((upload) => (
        <li key={upload.key} className={upload.error ? "upload failed" : "upload"}>
          <span className="upload-name">{upload.file.name}</span>
          {upload.error ? (
            <>
              <span className="upload-error" role="alert">
                {upload.error}
              </span>
              {!refusal(upload.file) && (
                <button className="quiet" onClick={() => onRetry(upload)}>
                  Try again
                </button>
              )}
              <button className="quiet" onClick={() => onDismiss(upload.key)}>
                Dismiss
              </button>
            </>
          ) : (
            <>
              <progress aria-label={`Uploading ${upload.file.name}`} max={100} value={upload.percent} />
              <span className="upload-percent">{Math.round(upload.percent)} %</span>
            </>
          )}
        </li>
      ))}
    </ul>
  );
}
