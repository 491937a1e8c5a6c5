-- One transaction: the dump and the rows that the manifest counts are of the same moment.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\! pg_dump --format=custom --compress=0 --snapshot="$SNAPSHOT" --file=database.part && mv database.part database.dump
\o manifest.json
\ir manifest.sql
\o roles.sql
\ir roles.sql
\o
COMMIT;
