-- Makes the database :name as the manifest in this folder says; one of that name, which a restore before left, goes.
\set manifest `cat manifest.json`
DROP DATABASE IF EXISTS :"name";
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L',
  :'name', m ->> 'owner', m ->> 'encoding', m ->> 'collate', m ->> 'ctype')
FROM (SELECT (:'manifest')::jsonb AS m) AS read \gexec
