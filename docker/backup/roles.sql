-- The server's roles as a script that makes those which another server lacks, with their settings and memberships, and
-- changes none that is there. A value of these settings is a list of names: in quotes it would be one name.
\set lists '{search_path,temp_tablespaces,local_preload_libraries,session_preload_libraries}'
SELECT rolsuper AS may_read_passwords FROM pg_roles WHERE rolname = current_user \gset
\if :may_read_passwords
SELECT 'CREATE TEMP TABLE lacking (name text);';
SELECT format('SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %1$L) AS lacking \gset' || E'\n\\if :lacking\n'
  || 'CREATE ROLE %1$I WITH %2$s;' || E'\nINSERT INTO lacking VALUES (%1$L);\n%3$s\\endif', rolname, concat_ws(' ',
    CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN NOT rolinherit THEN 'NOINHERIT' END,
    CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
    CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, format('CONNECTION LIMIT %s', rolconnlimit),
    CASE WHEN rolpassword IS NOT NULL THEN format('PASSWORD %L', rolpassword) END,
    CASE WHEN rolvaliduntil IS NOT NULL THEN format('VALID UNTIL %L', rolvaliduntil) END),
  (SELECT string_agg(format(E'ALTER ROLE %I SET %s = %s;\n', rolname, name,
      CASE WHEN name = ANY (:'lists') THEN value ELSE quote_literal(value) END), '')
    FROM pg_db_role_setting s, unnest(s.setconfig) AS setting,
      LATERAL (SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)) AS pair (name, value)
    WHERE s.setrole = a.oid AND s.setdatabase = 0))
FROM pg_authid a WHERE rolname NOT LIKE 'pg\_%' ORDER BY rolname;
-- whoever is a member of what comes once all are there
SELECT format('SELECT EXISTS (SELECT FROM lacking WHERE name = %1$L) AS made \gset' || E'\n\\if :made\n'
  || 'GRANT %2$I TO %1$I;' || E'\n\\endif', a.rolname, r.rolname)
FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member
WHERE a.rolname NOT LIKE 'pg\_%' ORDER BY r.rolname, a.rolname;
\endif
