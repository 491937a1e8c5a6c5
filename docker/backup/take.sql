-- One transaction: the dump and the rows that the manifest counts are of the same moment. The rows are counted while
-- pg_dump writes; what it writes is saved elsewhere and then removed, so the disk need not have it.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\! { pg_dump -Fc -Z0 --no-sync --snapshot="$SNAPSHOT" --file=part && mv part database.dump; :>ended; } &
\o manifest.json
\ir manifest.sql
\o roles.sql
\ir roles.sql
\o
\! cat ended
COMMIT;
