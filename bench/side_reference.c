// SPDX-License-Identifier: MIT
/* side_reference.c - Linux's algorithm, linked statically (tests/reference/). */
#include "reference.h"

#define SIDE side_reference
#define SIDE_NAME "reference"
#define MM struct ref_mm
#define SUB struct ref_sub
#define RANGE struct ref_range
#define OPS struct ref_ops
#define OPEN ref_mm_open
#define CLOSE ref_mm_close
#define INSERT ref_interval_insert
#define REMOVE ref_interval_remove
#define READ_BEGIN ref_read_begin
#define READ_RETRY ref_read_retry
#define SET_SEQ ref_set_seq
#define RANGE_INIT ref_range_init
#define START ref_invalidate_start
#define END ref_invalidate_end
#include "side_loops.h"
