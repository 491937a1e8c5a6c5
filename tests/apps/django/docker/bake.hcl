variable "CA" { default = "/etc/ssl/certs/ca-certificates.crt" }

group "default" { targets = ["backend", "edge"] }

target "backend" {
  context    = "backend"
  dockerfile = "../docker/backend.Dockerfile"
  secret     = ["id=ca,src=${CA}"]
  tags       = ["django/backend"]
}

target "edge" {
  context    = "docker/site"
  dockerfile = "../edge.Dockerfile"
  tags       = ["django/edge"]
}
