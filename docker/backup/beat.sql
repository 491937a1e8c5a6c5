-- Whether the receiver has flushed up to :lsn, as its slot has it; then the time of a new commit, and where it ends.
SELECT coalesce(bool_or(restart_lsn >= :'lsn'), false) FROM pg_replication_slots WHERE slot_name = current_user;
BEGIN;
\ir now.sql
SELECT pg_logical_emit_message(true, 'ops', 'beat') \g /dev/null
COMMIT;
SELECT pg_current_wal_insert_lsn();
