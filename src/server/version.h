// SPDX-License-Identifier: Apache-2.0
// The program's version, and that of the data directory's layout.
#ifndef SERVER_VERSION_H
#define SERVER_VERSION_H

#define MILLRACE_VERSION "0.1.0"
#define MILLRACE_AIRFLOW_VERSION "3.2.1" // whose REST API the http door speaks
enum { DATA_VERSION = 1 };

#endif
