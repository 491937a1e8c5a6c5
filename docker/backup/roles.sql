-- The server's roles as statements that make those which another server lacks, and change none that is there.
SELECT rolsuper AS may_read_passwords FROM pg_roles WHERE rolname = current_user \gset
\if :may_read_passwords
SELECT format('SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %1$L) AS lacking \gset' || E'\n\\if :lacking\n'
  || 'CREATE ROLE %1$I WITH %2$s%3$s%4$s%5$s%6$s%7$s%8$s CONNECTION LIMIT %9$s%10$s%11$s;' || E'\n\\endif',
  rolname, CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
  CASE WHEN rolcreatedb THEN ' CREATEDB' ELSE '' END, CASE WHEN rolcreaterole THEN ' CREATEROLE' ELSE '' END,
  CASE WHEN rolinherit THEN '' ELSE ' NOINHERIT' END, CASE WHEN rolcanlogin THEN ' LOGIN' ELSE '' END,
  CASE WHEN rolreplication THEN ' REPLICATION' ELSE '' END, CASE WHEN rolbypassrls THEN ' BYPASSRLS' ELSE '' END,
  rolconnlimit, coalesce(format(' PASSWORD %L', rolpassword), ''),
  coalesce(format(' VALID UNTIL %L', rolvaliduntil), ''))
FROM pg_authid WHERE rolname NOT LIKE 'pg\_%' ORDER BY rolname;
SELECT format('GRANT %I TO %I;', r.rolname, m.rolname)
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE r.rolname NOT LIKE 'pg\_%' OR m.rolname NOT LIKE 'pg\_%' ORDER BY 1;
SELECT format('ALTER ROLE %I SET %s = %L;', r.rolname, split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1))
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS setting
WHERE s.setdatabase = 0 ORDER BY 1;
\endif
