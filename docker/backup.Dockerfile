# Backups: restic, its ssh, and the clients of the very PostgreSQL that the app runs, with the programs of docker/backup.
# It runs for one command at a time, by `inv backup` and by the schedule; as a server only with compose.wal.yml.

FROM restic AS restic
FROM ssh AS ssh

FROM postgres AS programs
COPY backup/ /out/usr/local/lib/backup/
COPY --from=restic /usr/bin/restic /out/usr/local/bin/
COPY --from=ssh /usr/bin/ssh /usr/bin/openssl /out/usr/local/bin/
COPY backup/ssh_config /out/etc/ssh/
COPY --from=restic /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/
# modes and times are part of a layer's digest: the same whatever the umask and the minute of the checkout
ARG SOURCE_DATE_EPOCH=0
RUN mkdir /out/wal && chmod -R u=rwX,go=rX /out && chown 999:999 /out/wal \
    && chmod 755 /out/usr/local/lib/backup/* /out/usr/local/bin/* \
    && touch -d @$SOURCE_DATE_EPOCH /out /out/* /out/*/* /out/*/*/* /out/*/*/*/* /out/*/*/*/*/*

FROM postgres
COPY --from=programs /out/ /
ENV PATH=/usr/local/lib/backup:/usr/local/bin:/usr/bin:/bin RESTIC_CACHE_DIR=/staging/cache
ENTRYPOINT []
CMD ["restic", "snapshots"]
LABEL org.opencontainers.image.title="BookReader backup"
