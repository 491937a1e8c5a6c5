-- Gives :new what was granted on :live and set for it, then swaps their names in one transaction.
SELECT format('ALTER DATABASE %I SET %s = %L', :'new', split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1))
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS setting
WHERE d.datname = :'live' AND s.setrole = 0 \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'new') FROM pg_database
WHERE datname = :'live' AND datacl IS NOT NULL \gexec
SELECT format('GRANT %s ON DATABASE %I TO %s%s', privilege_type, :'new',
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_database, aclexplode(datacl) WHERE datname = :'live' \gexec
SELECT extract(epoch FROM clock_timestamp()) * 1000 AS began \gset
BEGIN;
ALTER DATABASE :"live" RENAME TO :"kept";
ALTER DATABASE :"new" RENAME TO :"live";
COMMIT;
SELECT round(extract(epoch FROM clock_timestamp()) * 1000 - :began);
