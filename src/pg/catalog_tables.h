// SPDX-License-Identifier: Apache-2.0
// PostgreSQL's system catalog as data: which relations there are and the SQL of each, which functions, which types in casts.
// Facts of https://www.postgresql.org/docs/15/catalogs.html. Included by catalog.c alone.
//
// mr_nsp(oid, name), mr_rel(oid, nsp, name, kind, natts, tuples), mr_att(rel, num, name, typ, len, typmod, required) and mr_typ(oid, name, sql_name, len, elem,
// arr) are the session's temporary tables underneath.
#ifndef PG_CATALOG_TABLES_H
#define PG_CATALOG_TABLES_H

#include <stddef.h>

struct relation {
    const char *name;
    const char *select; // the view's text; NULL: an empty relation of these columns
    const char *columns; // "name type, ..." of an empty relation
};

static const struct relation relations[] = {
    {"pg_namespace", "select oid, name as nspname, 10::bigint as nspowner, null::varchar[] as nspacl from mr_nsp", NULL},
    {"pg_class",
     "select oid, name as relname, nsp as relnamespace, 0::bigint as reltype, 0::bigint as reloftype, 10::bigint as relowner, 2::bigint as relam, "
     "oid as relfilenode, 0::bigint as reltablespace, 0 as relpages, tuples::float as reltuples, 0 as relallvisible, 0::bigint as reltoastrelid, "
     "false as relhasindex, false as relisshared, 'p' as relpersistence, kind as relkind, natts::smallint as relnatts, 0::smallint as relchecks, "
     "false as relhasrules, false as relhastriggers, false as relhassubclass, false as relrowsecurity, false as relforcerowsecurity, "
     "true as relispopulated, 'd' as relreplident, false as relispartition, 0::bigint as relrewrite, 0::bigint as relfrozenxid, "
     "0::bigint as relminmxid, null::varchar[] as relacl, null::varchar[] as reloptions, null::varchar as relpartbound from mr_rel",
     NULL},
    {"pg_attribute",
     "select rel as attrelid, name as attname, typ as atttypid, -1 as attstattarget, len::smallint as attlen, num::smallint as attnum, 0 as attndims, "
     "-1 as attcacheoff, typmod as atttypmod, false as attbyval, 'i' as attalign, 'p' as attstorage, '' as attcompression, required as attnotnull, "
     "false as atthasdef, false as atthasmissing, '' as attidentity, '' as attgenerated, false as attisdropped, true as attislocal, 0 as attinhcount, "
     "case when typ in (25, 1043) then 100 else 0 end::bigint as attcollation, null::varchar[] as attacl, null::varchar[] as attoptions, "
     "null::varchar[] as attfdwoptions, null::varchar as attmissingval from mr_att",
     NULL},
    {"pg_type",
     "select oid, name as typname, 11::bigint as typnamespace, 10::bigint as typowner, len::smallint as typlen, false as typbyval, 'b' as typtype, "
     "case when elem > 0 then 'A' when oid in (20, 21, 23, 700, 701, 1700, 26) then 'N' when oid in (25, 1043, 19, 1042, 18) then 'S' "
     "when oid in (1082, 1083, 1114, 1184) then 'D' when oid = 16 then 'B' when oid = 1186 then 'T' else 'U' end as typcategory, "
     "false as typispreferred, true as typisdefined, ',' as typdelim, 0::bigint as typrelid, 0::bigint as typsubscript, elem as typelem, "
     "arr as typarray, case when elem > 0 then 'array_in' else name || 'in' end as typinput, case when elem > 0 then 'array_out' else name || 'out' "
         "end as typoutput, "
     "case when elem > 0 then 'array_recv' else name || 'recv' end as typreceive, name || 'send' as typsend, 0::bigint as typmodin, 0::bigint as typmodout, "
     "'-' as typanalyze, 'i' as typalign, 'p' as typstorage, false as typnotnull, 0::bigint as typbasetype, -1 as typtypmod, 0 as typndims, "
     "case when oid in (25, 1043) then 100 else 0 end::bigint as typcollation, null::varchar as typdefaultbin, null::varchar as typdefault, "
     "null::varchar[] as typacl from mr_typ",
     NULL},
    {"pg_am", "select 2::bigint as oid, 'heap' as amname, 'heap_tableam_handler' as amhandler, 't' as amtype", NULL},
    {"pg_collation", "select 100::bigint as oid, 'default' as collname, 11::bigint as collnamespace, 'd' as collprovider, 'C' as collcollate, 'C' as "
        "collctype", NULL},
    {"pg_database",
     "select 1::bigint as oid, 'millrace' as datname, 10::bigint as datdba, 6 as encoding, 'c' as datlocprovider, false as datistemplate, true as "
         "datallowconn, "
     "-1 as datconnlimit, 1663::bigint as dattablespace, 'C.UTF-8' as datcollate, 'C.UTF-8' as datctype, null::varchar as daticulocale, null::varchar "
         "as datcollversion, "
     "null::varchar[] as datacl",
     NULL},
    {"pg_roles",
     "select 10::bigint as oid, 'millrace' as rolname, true as rolsuper, true as rolinherit, true as rolcreaterole, true as rolcreatedb, true as rolcanlogin, "
     "false as rolreplication, -1 as rolconnlimit, null::varchar as rolpassword, null::timestamptz as rolvaliduntil, true as rolbypassrls, "
         "null::varchar[] as rolconfig",
     NULL},
    {"pg_user", "select 'millrace' as usename, 10::bigint as usesysid, true as usecreatedb, true as usesuper, false as userepl, true as usebypassrls", NULL},
    {"pg_tablespace", "select 1663::bigint as oid, 'pg_default' as spcname, 10::bigint as spcowner, null::varchar[] as spcacl, null::varchar[] as "
        "spcoptions", NULL},
    {"pg_tables",
     "select n.name as schemaname, r.name as tablename, 'millrace' as tableowner, null::varchar as tablespace, false as hasindexes, false as hasrules, "
     "false as hastriggers, false as rowsecurity from mr_rel r join mr_nsp n on n.oid = r.nsp where r.kind = 'r'",
     NULL},
    {"pg_views", "select n.name as schemaname, r.name as viewname, 'millrace' as viewowner, null::varchar as definition from mr_rel r join mr_nsp n "
        "on n.oid = r.nsp "
                 "where r.kind = 'v'", NULL},
    {"pg_matviews", NULL, "schemaname varchar, matviewname varchar, matviewowner varchar, ispopulated boolean, definition varchar"},
    {"pg_index", NULL,
     "indexrelid bigint, indrelid bigint, indnatts smallint, indnkeyatts smallint, indisunique boolean, indnullsnotdistinct boolean, indisprimary "
         "boolean, indisexclusion boolean, "
     "indimmediate boolean, indisclustered boolean, indisvalid boolean, indisreplident boolean, indkey smallint[], indcollation bigint[], indclass bigint[], "
     "indoption smallint[], indexprs varchar, indpred varchar"},
    {"pg_indexes", NULL, "schemaname varchar, tablename varchar, indexname varchar, tablespace varchar, indexdef varchar"},
    {"pg_constraint", NULL,
     "oid bigint, conname varchar, connamespace bigint, contype varchar, condeferrable boolean, condeferred boolean, convalidated boolean, conrelid "
         "bigint, contypid bigint, "
     "conindid bigint, conparentid bigint, confrelid bigint, confupdtype varchar, confdeltype varchar, confmatchtype varchar, conislocal boolean, "
         "conkey smallint[], "
     "confkey smallint[], conbin varchar"},
    {"pg_attrdef", NULL, "oid bigint, adrelid bigint, adnum smallint, adbin varchar"},
    {"pg_description", NULL, "objoid bigint, classoid bigint, objsubid integer, description varchar"},
    {"pg_shdescription", NULL, "objoid bigint, classoid bigint, description varchar"},
    {"pg_inherits", NULL, "inhrelid bigint, inhparent bigint, inhseqno integer, inhdetachpending boolean"},
    {"pg_partitioned_table", NULL, "partrelid bigint, partstrat varchar, partnatts smallint, partattrs smallint[]"},
    {"pg_policy", NULL,
     "oid bigint, polname varchar, polrelid bigint, polcmd varchar, polpermissive boolean, polroles bigint[], polqual varchar, polwithcheck varchar"},
    {"pg_trigger", NULL, "oid bigint, tgrelid bigint, tgname varchar, tgfoid bigint, tgtype smallint, tgenabled varchar, tgisinternal boolean, "
        "tgparentid bigint, tgconstraint bigint"},
    {"pg_rewrite", NULL, "oid bigint, rulename varchar, ev_class bigint, ev_type varchar, ev_enabled varchar, is_instead boolean"},
    {"pg_statistic_ext", NULL,
     "oid bigint, stxrelid bigint, stxname varchar, stxnamespace bigint, stxowner bigint, stxstattarget integer, stxkeys smallint[], stxkind varchar[]"},
    {"pg_publication", NULL, "oid bigint, pubname varchar, pubowner bigint, puballtables boolean, pubinsert boolean, pubupdate boolean, pubdelete "
        "boolean, pubtruncate boolean, pubviaroot boolean"},
    {"pg_publication_rel", NULL, "oid bigint, prpubid bigint, prrelid bigint, prqual varchar, prattrs smallint[]"},
    {"pg_publication_namespace", NULL, "oid bigint, pnpubid bigint, pnnspid bigint"},
    {"pg_foreign_table", NULL, "ftrelid bigint, ftserver bigint, ftoptions varchar[]"},
    {"pg_foreign_server", NULL, "oid bigint, srvname varchar, srvowner bigint, srvfdw bigint, srvtype varchar, srvversion varchar, srvoptions varchar[]"},
    {"pg_auth_members", NULL, "roleid bigint, member bigint, grantor bigint, admin_option boolean"},
    {"pg_proc", NULL,
     "oid bigint, proname varchar, pronamespace bigint, proowner bigint, prolang bigint, prokind varchar, prosecdef boolean, proleakproof boolean, "
         "proisstrict boolean, proretset boolean, "
     "provolatile varchar, proparallel varchar, pronargs smallint, prorettype bigint, proargtypes bigint[], prosrc varchar, proacl varchar[]"},
    {"pg_language", NULL, "oid bigint, lanname varchar"},
    {"pg_aggregate", NULL, "aggfnoid bigint, aggkind varchar"},
    {"pg_operator", NULL, "oid bigint, oprname varchar, oprnamespace bigint"},
    {"pg_opclass", NULL, "oid bigint, opcname varchar, opcmethod bigint"},
    {"pg_cast", NULL, "oid bigint, castsource bigint, casttarget bigint, castfunc bigint, castcontext varchar, castmethod varchar"},
    {"pg_enum", NULL, "oid bigint, enumtypid bigint, enumsortorder float, enumlabel varchar"},
    {"pg_range", NULL, "rngtypid bigint, rngsubtype bigint"},
    {"pg_depend", NULL, "classid bigint, objid bigint, objsubid integer, refclassid bigint, refobjid bigint, refobjsubid integer, deptype varchar"},
    {"pg_sequence", NULL, "seqrelid bigint, seqtypid bigint, seqstart bigint, seqincrement bigint, seqmax bigint, seqmin bigint, seqcache bigint, "
        "seqcycle boolean"},
    {"pg_sequences", NULL, "schemaname varchar, sequencename varchar, sequenceowner varchar, last_value bigint"},
    {"pg_extension", NULL, "oid bigint, extname varchar, extowner bigint, extnamespace bigint, extversion varchar"},
    {"pg_available_extensions", NULL, "name varchar, default_version varchar, installed_version varchar, comment varchar"},
    {"pg_event_trigger", NULL, "oid bigint, evtname varchar, evtevent varchar, evtowner bigint, evtenabled varchar"},
    {"pg_stat_activity", NULL, "datid bigint, datname varchar, pid integer, usename varchar, application_name varchar, state varchar, query varchar"},
    {"pg_locks", NULL, "locktype varchar, relation bigint, pid integer, mode varchar, granted boolean"},
    {"pg_settings", NULL, "name varchar, setting varchar, unit varchar, category varchar, short_desc varchar, context varchar, source varchar"},
};
enum { N_RELATIONS = sizeof relations / sizeof *relations };

// Macros: parameters and body. Overloads by number of parameters are further entries.
struct function {
    const char *name;
    const char *definition; // of CREATE MACRO: "(a, b) as ..., (a) as ..."
};

static const struct function functions[] = {
    {"format_type", "(t, m) as (select case when m > 0 and sql_name = 'numeric' then 'numeric(' || ((m - 4) >> 16) || ',' || ((m - 4) & 65535) || ')' "
        "else sql_name end "
                    "from mr_typ where mr_typ.oid = t)"},
    {"pg_get_userbyid", "(o) as 'millrace'"},
    {"pg_table_is_visible", "(o) as true"},
    {"pg_type_is_visible", "(o) as true"},
    {"pg_function_is_visible", "(o) as true"},
    {"pg_relation_is_publishable", "(o) as false"},
    {"pg_get_expr", "(e, r) as e::varchar, (e, r, p) as e::varchar"},
    {"pg_get_indexdef", "(o) as null::varchar, (o, c, p) as null::varchar"},
    {"pg_get_constraintdef", "(o) as null::varchar, (o, p) as null::varchar"},
    {"pg_get_viewdef", "(o) as null::varchar, (o, p) as null::varchar"},
    {"pg_get_functiondef", "(o) as null::varchar"},
    {"pg_get_function_result", "(o) as null::varchar"},
    {"pg_get_function_arguments", "(o) as null::varchar"},
    {"pg_get_function_identity_arguments", "(o) as null::varchar"},
    {"pg_get_partkeydef", "(o) as null::varchar"},
    {"pg_get_statisticsobjdef_columns", "(o) as null::varchar"},
    {"pg_get_serial_sequence", "(t, c) as null::varchar"},
    {"pg_encoding_to_char", "(e) as 'UTF8'"},
    {"pg_relation_size", "(o) as 0::bigint, (o, f) as 0::bigint"},
    {"pg_table_size", "(o) as 0::bigint"},
    {"pg_total_relation_size", "(o) as 0::bigint"},
    {"pg_size_pretty", "(n) as format_bytes(n)"},
    {"pg_tablespace_location", "(o) as ''"},
    {"pg_is_in_recovery", "() as false"},
    {"pg_backend_pid", "() as 0"},
    {"pg_postmaster_start_time", "() as now()"},
    {"obj_description", "(o) as null::varchar, (o, c) as null::varchar"},
    {"shobj_description", "(o, c) as null::varchar"},
    {"col_description", "(o, c) as null::varchar"},
    {"has_table_privilege", "(t, p) as true, (u, t, p) as true"},
    {"has_schema_privilege", "(t, p) as true, (u, t, p) as true"},
    {"has_database_privilege", "(t, p) as true, (u, t, p) as true"},
    {"has_column_privilege", "(t, c, p) as true, (u, t, c, p) as true"},
    {"quote_ident", "(i) as case when regexp_full_match(i, '[a-z_][a-z0-9_]*') then i else '\"' || replace(i, '\"', '\"\"') || '\"' end"},
    {"array_upper", "(a, d) as len(a)"},
    {"array_lower", "(a, d) as 1"},
    {"to_regclass", "(t) as (select r.oid from mr_rel r join mr_nsp n on n.oid = r.nsp where lower(t) in (lower(r.name), lower(n.name || '.' || "
        "r.name)) limit 1)"},
    {"current_setting", "(n) as case lower(n) when 'server_version_num' then '150000' when 'server_version' then '15.0' when 'search_path' then 'main' "
                        "when 'timezone' then 'UTC' else null end, (n, m) as null::varchar"},
    {"current_database", "() as 'millrace'"},
    {"version", "() as 'PostgreSQL 15.0 (Millrace)'"},
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };

// Types of PostgreSQL in casts that the engine does not know.
static const struct {
    const char *from, *to;
} cast_types[] = {
    {"regclass", "varchar"}, {"regtype", "varchar"}, {"regproc", "varchar"}, {"regprocedure", "varchar"}, {"regnamespace", "varchar"}, {"regrole", "varchar"},
    {"oid", "bigint"},       {"xid", "bigint"},      {"name", "varchar"},    {"char", "varchar"},         {"cstring", "varchar"},      {"jsonb", "json"},
    {"int2vector", "smallint[]"}, {"oidvector", "bigint[]"}, {"bpchar", "varchar"},
};
enum { N_CAST_TYPES = sizeof cast_types / sizeof *cast_types };

#endif
