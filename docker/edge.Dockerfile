# The edge: nginx, and busybox to ask it how it is. Its configuration is mounted, never built in.
# No label names a commit: it outlives releases, and would be said to have drifted after each one.

FROM busybox AS folders
COPY . /out/site
ARG SOURCE_DATE_EPOCH=0
RUN ["/bin/busybox", "sh", "-euc", "PATH=/b:$PATH; /bin/busybox mkdir /b; /bin/busybox --install /b; mkdir -p /out/usr/local/bin /out/var/cache/nginx; cp /bin/busybox /out/usr/local/bin/; if [ -d /var/lib/dpkg/status.d ]; then mkdir -p /out/var/lib/dpkg; cp -r /var/lib/dpkg/status.d /out/var/lib/dpkg/; rm /out/var/lib/dpkg/status.d/base-files*; fi; chmod -R u=rwX,go=rX /out; chmod 755 /out/usr/local/bin/busybox; chown -R 10001:10001 /out/site /out/var/cache/nginx; find /out -exec touch -h -d @$SOURCE_DATE_EPOCH {} +"]

FROM nginx
# new volumes take over the owner of /site and /var/cache/nginx
COPY --from=folders /out/ /
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 10001:10001
EXPOSE 8080 9180
CMD ["nginx", "-c", "/etc/edge/current/nginx.conf", "-g", "daemon off;"]
LABEL org.opencontainers.image.title="BookReader edge"
