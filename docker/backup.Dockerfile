# Backups: restic, and the clients of the very PostgreSQL that the app runs, with the programs of docker/backup.
# It runs for one command at a time, by `inv backup` and by the schedule, and never as a server.

FROM restic AS restic

FROM postgres
COPY --from=restic /usr/bin/restic /usr/local/bin/
COPY --from=restic /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --chmod=755 backup/ /usr/local/lib/backup/
ENV PATH=/usr/local/lib/backup:/usr/local/bin:/usr/bin:/bin RESTIC_CACHE_DIR=/staging/cache RESTIC_PROGRESS_FPS=0.2
ENTRYPOINT []
CMD ["restic", "snapshots"]
LABEL org.opencontainers.image.title="BookReader backup"
