# The edge: nginx, and busybox to ask it how it is. Its configuration is mounted, never built in.
# No label names a commit: it outlives releases, and would be said to have drifted after each one.

FROM busybox AS folders
COPY . /out/site
ARG SOURCE_DATE_EPOCH=0
RUN ["/bin/busybox", "sh", "-euc", "PATH=/b:$PATH; /bin/busybox mkdir /b; /bin/busybox --install /b; mkdir -p /out/usr/local/bin /out/var/cache/nginx; cp /bin/busybox /out/usr/local/bin/; if [ -d /var/lib/dpkg/status.d ]; then mkdir -p /out/var/lib/dpkg; cp -r /var/lib/dpkg/status.d /out/var/lib/dpkg/; rm /out/var/lib/dpkg/status.d/base-files*; fi; chmod -R u=rwX,go=rX /out; chmod 755 /out/usr/local/bin/busybox; chown -R 10001:10001 /out/site /out/var/cache/nginx; find /out -exec touch -h -d @$SOURCE_DATE_EPOCH {} +"]

# What this nginx, with the OpenSSL that it runs on, can do: each line is tried by it.
# The frame includes what is accepted.
FROM nginx AS features
COPY --from=busybox /bin/busybox /b/busybox
ARG SOURCE_DATE_EPOCH=0
# Mozilla's guideline 6.0; the hybrid group needs OpenSSL 3.5
RUN ["/b/busybox", "sh", "-euc", "\
/b/busybox --install /b; PATH=$PATH:/b; to=/out/etc/nginx/features; mkdir -p $to; \
accepts() { \
  echo \"events {} http { access_log off; $1 server { listen unix:/b/s ssl; ssl_reject_handshake on; } }\" > /b/c; \
  nginx -t -q -e stderr -g 'pid /b/p;' -c /b/c && echo \"$1\" >> $to/features.conf; }; \
curves=X25519:prime256v1:secp384r1; \
accepts \"ssl_ecdh_curve X25519MLKEM768:$curves;\" || accepts \"ssl_ecdh_curve $curves;\"; \
accepts 'gzip_static on;' || :; \
chmod -R u=rwX,go=rX /out; find /out -exec touch -h -d @$SOURCE_DATE_EPOCH {} +"]

FROM nginx
# new volumes take over the owner of /site and /var/cache/nginx
COPY --from=folders /out/ /
COPY --from=features /out/ /
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 10001:10001
EXPOSE 8080 8443 9180
CMD ["nginx", "-c", "/etc/edge/current/nginx.conf", "-g", "daemon off;"]
LABEL org.opencontainers.image.title="BookReader edge"
