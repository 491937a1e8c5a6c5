-- What a database holds, in one line of JSON: by it a restored one is compared with the one that was dumped.
SELECT jsonb_build_object(
  'version', 1,
  'taken', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'server', current_setting('server_version_num')::int,
  'database', current_database(),
  'owner', pg_get_userbyid(d.datdba),
  'encoding', pg_encoding_to_char(d.encoding),
  'collate', d.datcollate,
  'ctype', d.datctype,
  'provider', to_jsonb(d) ->> 'datlocprovider', -- columns differ between versions of the server
  'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
  'bytes', pg_database_size(d.oid),
  'extensions', (SELECT coalesce(jsonb_object_agg(extname, extversion), '{}') FROM pg_extension),
  'revision', CASE WHEN to_regclass('alembic_version') IS NOT NULL THEN (
    SELECT string_agg(version::text, ',') FROM unnest(xpath('//version_num/text()',
      query_to_xml('SELECT version_num FROM alembic_version ORDER BY 1', false, false, ''))) AS version) END,
  -- but that which every server has for whoever looks after it
  'others', (SELECT coalesce(jsonb_agg(datname ORDER BY datname), '[]') FROM pg_database
    WHERE datallowconn AND NOT datistemplate AND datname NOT IN (current_database(), 'postgres')),
  'rows', (
    SELECT coalesce(jsonb_object_agg(format('%I.%I', n.nspname, c.relname), (xpath('/row/count/text()',
      query_to_xml(format('SELECT count(*) AS count FROM ONLY %I.%I', n.nspname, c.relname), false, true, ''))
      )[1]::text::bigint), '{}')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'p'
      AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'))
FROM pg_database d WHERE d.datname = current_database();
