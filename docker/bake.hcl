# All images in one `docker buildx bake`, in parallel. `inv build` sets the variables and names the base images
# (contexts python, python-build, node, busybox, nginx); a target's first tag is the name that compose files use.

variable "VERSION" { default = "dev" }
variable "REVISION" { default = "unknown" }
variable "CREATED" { default = "1970-01-01T00:00:00Z" }
variable "CA" { default = "/etc/ssl/certs/ca-certificates.crt" }

group "default" { targets = ["backend", "frontend", "edge", "backup", "notify", "certificates"] }

target "common" {
  args   = { VERSION = VERSION, REVISION = REVISION, CREATED = CREATED }
  secret = ["id=ca,src=${CA}"]
}

target "backend" {
  inherits   = ["common"]
  context    = "backend"
  dockerfile = "../docker/backend.Dockerfile"
  tags       = ["bookreader/backend"]
}

target "frontend" {
  inherits   = ["common"]
  context    = "frontend"
  dockerfile = "../docker/frontend.Dockerfile"
  contexts   = { scripts = "docker/frontend" }
  tags       = ["bookreader/frontend"]
}

target "edge" {
  inherits   = ["common"]
  context    = "docker/frontend/site"
  dockerfile = "../../edge.Dockerfile"
  tags       = ["bookreader/edge"]
}

target "backup" {
  inherits   = ["common"]
  context    = "docker"
  dockerfile = "backup.Dockerfile"
  tags       = ["bookreader/backup"]
}

target "notify" {
  inherits   = ["common"]
  context    = "docker"
  dockerfile = "notify.Dockerfile"
  tags       = ["bookreader/notify"]
}

target "certificates" {
  inherits   = ["common"]
  context    = "docker"
  dockerfile = "certificates.Dockerfile"
  tags       = ["bookreader/certificates"]
}

# the app's own test suites; not part of `inv build`
group "tests" { targets = ["backend-test", "frontend-test"] }

target "backend-test" {
  inherits   = ["common"]
  context    = "backend"
  dockerfile = "../docker/backend-test.Dockerfile"
  tags       = ["bookreader/backend-test"]
}

target "frontend-test" {
  inherits   = ["common"]
  context    = "frontend"
  dockerfile = "../docker/frontend-test.Dockerfile"
  output     = ["type=cacheonly"]
}
