/* SPDX-License-Identifier: MIT */
/*
 * record.h - recordings of invalidations: the file format, its writer, its reader.
 *
 * docs/record-format.md is the format's description. A file is a header, a table of
 * processes, a table of areas, and the events, all of fixed size, little-endian, in this
 * order and nothing else. Addresses are gone: an event names an area (a part of a
 * process's address space that the run touched) and an offset in it.
 *
 * The reader believes nothing: sizes are checked before anything is allocated, every
 * index and every range before it is handed out, and each refusal says what is wrong.
 */
#ifndef HMMU_RECORD_H
#define HMMU_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_MAGIC "hmmurec\n"
#define RECORD_VERSION 1u
#define RECORD_PAGE 4096u
#define RECORD_NO_PARENT UINT32_MAX
#define RECORD_MAX_AREA (UINT64_C(1) << 47)
#define RECORD_MAX_PROCESSES 65536u

/* The values are the format's: they never change their meaning. */
enum record_op {
	RECORD_MUNMAP = 0,
	RECORD_MMAP = 1,
	RECORD_MREMAP = 2,
	RECORD_DONTNEED = 3,
	RECORD_FREE = 4,
	RECORD_REMOVE = 5,
	RECORD_MADVISE = 6,
	RECORD_BRK = 7,
	RECORD_MPROTECT = 8,
	RECORD_SHMDT = 9,
	RECORD_SHMAT = 10,
	RECORD_FORK = 11,
	RECORD_FTRUNCATE = 12,
	RECORD_FALLOCATE = 13,
	RECORD_OTHER = 14,
	RECORD_OP_NR
};

enum record_flag {
	RECORD_SECOND = 1,  /* another range of the call before */
	RECORD_CUT = 2,	    /* reserved: the writer clears it, the reader ignores it */
	RECORD_CREATES = 4, /* no invalidation: a mapping was made there */
	RECORD_FAILED = 8,  /* the call failed */
	RECORD_LOST = 16,   /* range not known: the area's whole */
	RECORD_ALL = 32,    /* the whole address space: area and offset mean nothing */
	RECORD_FLAGS = 63
};

struct record_header {
	char magic[8];
	uint32_t version;
	uint32_t header_size; /* of this */
	uint32_t event_size;
	uint32_t page_size;
	uint64_t nr_events;
	uint32_t nr_areas;
	uint32_t nr_processes;
	uint64_t duration; /* ns */
	uint64_t dropped;  /* events that were lost while recording */
	uint64_t checksum; /* FNV-1a, 64 bits, of all that follows the header */
};

struct record_process {
	uint32_t pid;	 /* what it was: for reports only */
	uint32_t parent; /* index, below this one's; RECORD_NO_PARENT */
	uint64_t born;	 /* ns */
	char comm[16];	 /* ended by 0 */
};

struct record_area {
	uint64_t size; /* a multiple of page_size */
	uint32_t process;
	uint32_t reserved; /* 0 */
};

struct record_event {
	uint64_t time; /* ns since the start; never falls */
	uint64_t offset;
	uint64_t length; /* both multiples of page_size */
	uint32_t area;
	uint32_t detail; /* advice, protection, flags: enum watch_op's */
	uint32_t process;
	uint16_t thread; /* of its process, in the order of their first events */
	uint8_t op;
	uint8_t flags;
};

_Static_assert(sizeof(struct record_header) == 64, "format: header");
_Static_assert(sizeof(struct record_process) == 32, "format: process");
_Static_assert(sizeof(struct record_area) == 16, "format: area");
_Static_assert(sizeof(struct record_event) == 40, "format: event");

struct recording {
	struct record_header header;
	struct record_process *processes;
	struct record_area *areas;
	struct record_event *events;
	void *memory; /* what all three lie in */
};

/* 0; or -1 and what is wrong in @why, nothing to free. */
int record_read(const char *path, struct recording *r, char *why, size_t size);
/* The same of bytes in memory, which stay the caller's and are copied. */
int record_parse(const void *data, size_t n, struct recording *r, char *why, size_t size);
void record_free(struct recording *r);

/* Fills in magic, version, sizes and checksum. 0 or -errno. */
int record_write(const char *path, struct recording *r);

extern const char *const record_op_names[RECORD_OP_NR];

#endif /* HMMU_RECORD_H */
