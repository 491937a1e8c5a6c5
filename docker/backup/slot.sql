-- The first segment that the slot has kept, and the one before it; nothing where no slot can be gone on with.
SELECT pg_walfile_name(restart_lsn), pg_walfile_name(restart_lsn - setting::bigint)
FROM pg_replication_slots, pg_settings
WHERE slot_name = :'slot' AND wal_status <> 'lost' AND name = 'wal_segment_size';
