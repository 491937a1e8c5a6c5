FROM busybox
COPY . /
USER 10001:10001
CMD ["/bin/busybox", "sh", "/publish"]
