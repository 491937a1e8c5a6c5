# The frontend's own tests and strict type check: a build that fails when they do.

FROM node
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm,id=bookreader-npm \
    --mount=type=secret,id=ca,target=/run/ca.crt \
    NODE_EXTRA_CA_CERTS=/run/ca.crt npm ci --no-audit --no-fund --loglevel=error
COPY . .
RUN npm run check && npm test
