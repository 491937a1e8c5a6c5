group "default" { targets = ["backend", "frontend", "prestart", "edge"] }

target "backend" {
  context    = "backend"
  dockerfile = "../docker/backend.Dockerfile"
  tags       = ["template/backend"]
}

target "frontend" {
  context    = "frontend"
  dockerfile = "../docker/frontend.Dockerfile"
  tags       = ["template/frontend"]
}

target "prestart" {
  context    = "prestart"
  dockerfile = "../docker/prestart.Dockerfile"
  tags       = ["template/prestart"]
}

target "edge" {
  context    = "docker/site"
  dockerfile = "../edge.Dockerfile"
  tags       = ["template/edge"]
}
