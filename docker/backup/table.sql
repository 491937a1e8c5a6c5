-- Copies :schema.:table into the schema :new of this database; prints how many rows that has.
CREATE SCHEMA :"new";
CREATE TABLE :"new".:"table" AS SELECT * FROM ONLY :"schema".:"table";
SELECT count(*) FROM :"new".:"table";
