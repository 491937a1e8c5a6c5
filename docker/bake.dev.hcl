# The images of `inv dev`: the stages that hold packages only, so that a change of code builds nothing.

variable "CA" { default = "/etc/ssl/certs/ca-certificates.crt" }

group "default" { targets = ["backend-dev", "frontend-dev"] }

target "backend-dev" {
  context    = "backend"
  dockerfile = "../docker/backend.Dockerfile"
  target     = "packages"
  secret     = ["id=ca,src=${CA}"]
  tags       = ["bookreader/backend-dev"]
}

target "frontend-dev" {
  context    = "frontend"
  dockerfile = "../docker/frontend.Dockerfile"
  target     = "packages"
  contexts   = { scripts = "docker/frontend" }
  secret     = ["id=ca,src=${CA}"]
  tags       = ["bookreader/frontend-dev"]
}
