-- The bytes of all databases that this role may ask for.
SELECT sum(pg_database_size(oid)) FROM pg_database WHERE has_database_privilege(oid, 'CONNECT');
