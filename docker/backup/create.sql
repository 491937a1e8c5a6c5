-- Makes the database :name as the manifest in this folder says; one of that name, which a restore before left, goes.
\set manifest `cat manifest.json`
DROP DATABASE IF EXISTS :"name";
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L %s',
  :'name', m ->> 'owner', m ->> 'encoding', m ->> 'collate', m ->> 'ctype',
  CASE m ->> 'provider'
    WHEN 'i' THEN format('LOCALE_PROVIDER icu ICU_LOCALE %L', m ->> 'locale')
    WHEN 'b' THEN format('LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', m ->> 'locale') ELSE '' END)
FROM (SELECT (:'manifest')::jsonb AS m) AS read \gexec
