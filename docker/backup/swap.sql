-- Swaps the names of :live and :new in one transaction; where :live is gone, :new takes its name.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'live') AS lives \gset
SELECT extract(epoch FROM clock_timestamp()) * 1000 AS began \gset
BEGIN;
\if :lives
ALTER DATABASE :"live" RENAME TO :"kept";
\endif
ALTER DATABASE :"new" RENAME TO :"live";
COMMIT;
SELECT round(extract(epoch FROM clock_timestamp()) * 1000 - :began);
