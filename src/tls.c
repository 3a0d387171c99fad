// SPDX-License-Identifier: MIT
/* tls.c - see tls.h. */
#include "tls.h"

__thread struct hmmu_tls hmmu_tls HMMU_TLS_MODEL;
