-- What speaks against now.json after before.json, both manifests: a table is empty that had :few rows or more, or less
-- than the part :least of all rows is left. After a migration the tables that it took do not count.
\set before `cat before.json`
\set now `cat now.json`
WITH manifests AS (SELECT (:'before')::jsonb AS before, (:'now')::jsonb AS now),
counted AS (
  SELECT key AS name, value::bigint AS had, coalesce((now -> 'rows' ->> key)::bigint, 0) AS has
  FROM manifests, jsonb_each_text(before -> 'rows')
  WHERE before ->> 'revision' IS NOT DISTINCT FROM now ->> 'revision' OR now -> 'rows' ? key),
sums AS (
  SELECT (SELECT coalesce(sum(had), 0) FROM counted) AS had,
    (SELECT coalesce(sum(value::bigint), 0) FROM manifests, jsonb_each_text(now -> 'rows')) AS has)
SELECT format('%s is empty, and had %s rows before', name, had) FROM counted WHERE had >= :few AND has = 0
UNION ALL
SELECT format('%s rows in all, and %s before', has, had) FROM sums WHERE has < had * :least;
