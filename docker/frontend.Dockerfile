# The frontend: built by Vite, carried by busybox, copied into the edge's volume before a release is switched to.

# also what `inv dev` runs, with the sources mounted
FROM node AS packages
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm,id=bookreader-npm \
    --mount=type=secret,id=ca,target=/run/ca.crt \
    NODE_EXTRA_CA_CERTS=/run/ca.crt npm ci --no-audit --no-fund --loglevel=error

FROM packages AS build
COPY . .
COPY --from=scripts publish /out/publish
COPY --from=scripts site /out/site
# one fixed time and the same modes everywhere: a layer's digest says only what is in it
ARG SOURCE_DATE_EPOCH=0
RUN npm run build && mv dist /out/dist \
    && find /out/dist -type f -size +255c -regex '.*\.\(js\|css\|svg\|html\)' -exec gzip -9 --keep --no-name {} + \
    && chmod -R u=rwX,go=rX /out && chown -R 10001:10001 /out/site \
    && find /out -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM busybox
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
# /dist, /publish and /site; a new volume takes over the owner of /site
COPY --from=build /out/ /
USER 10001:10001
CMD ["/bin/busybox", "sh", "/publish"]
LABEL org.opencontainers.image.title="BookReader frontend" \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.created=$CREATED
