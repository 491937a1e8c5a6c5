# the database's own image has psql
FROM postgres
COPY prestart /prestart
USER 10001:10001
CMD ["sh", "/prestart"]
