group "default" { targets = ["app", "edge"] }

target "app" {
  context    = "app"
  dockerfile = "../docker/app.Dockerfile"
  tags       = ["tiny/app"]
}

target "edge" {
  context    = "docker/site"
  dockerfile = "../edge.Dockerfile"
  tags       = ["tiny/edge"]
}
