-- What streaming needs on the server, once: a role that may replicate and nothing else, a line of pg_hba.conf that lets
-- it in (`all` there means no replication), and an end to what a slot may keep on the disk while nobody receives.
\getenv password WAL_PASSWORD
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'slot') AS lacking \gset
\if :lacking
CREATE ROLE :"slot" LOGIN REPLICATION;
\endif
ALTER ROLE :"slot" PASSWORD :'password';
SELECT NOT EXISTS (SELECT FROM pg_hba_file_rules WHERE 'replication' = ANY (database) AND :'slot' = ANY (user_name))
  AS lacking, format('cat >>''%s''', current_setting('hba_file')) AS append \gset
\if :lacking
COPY (SELECT format('host replication %s all scram-sha-256', :'slot')) TO PROGRAM :'append';
\endif
SELECT current_setting('max_slot_wal_keep_size') = '-1' AS endless \gset
\if :endless
ALTER SYSTEM SET max_slot_wal_keep_size = :'keep';
\endif
SELECT pg_reload_conf() \g /dev/null
