-- Makes the database :name as the manifest in this folder says; one of that name, which a restore before left, goes.
-- Whoever asks owns it where the server has not got its owner.
\set manifest `cat manifest.json`
DROP DATABASE IF EXISTS :"name";
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L %s',
  :'name', coalesce((SELECT rolname FROM pg_roles WHERE rolname = m ->> 'owner'), current_user), m ->> 'encoding', m ->> 'collate', m ->> 'ctype',
  CASE m ->> 'provider'
    WHEN 'i' THEN format('LOCALE_PROVIDER icu ICU_LOCALE %L', m ->> 'locale')
    WHEN 'b' THEN format('LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', m ->> 'locale') ELSE '' END)
FROM (SELECT (:'manifest')::jsonb AS m) AS read \gexec
