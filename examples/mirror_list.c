// SPDX-License-Identifier: MIT
/*
 * One pointer for both: a "device kernel" walks a linked list that malloc() built and the CPU
 * keeps changing. Nothing is registered, pinned or copied beforehand. The device reaches
 * memory only through its page table, the mirror; what is not there yet it faults in, what
 * the CPU frees or moves drops out of it by itself.
 */
#include <hmmu/mirror.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct node {
	struct node *next;
	uint64_t value;
	char *payload; /* some are large: malloc maps them, free() unmaps them */
};

/* What runs on the device: plain C, but each load goes through the mirror. */
static long device_sum(struct hmmu_mirror *mirror, const struct node *head, uint64_t *sum)
{
	struct node node;
	uint64_t first;

	for (*sum = 0; head; head = node.next) {
		long n = hmmu_mirror_read(mirror, (unsigned long)head, &node, sizeof(node),
					  NULL);

		if (n != sizeof(node))
			return n < 0 ? n : -1;
		n = hmmu_mirror_read(mirror, (unsigned long)node.payload, &first, sizeof(first),
				     NULL);
		if (n != sizeof(first))
			return n < 0 ? n : -1;
		*sum += node.value + first;
	}
	return 0;
}

static uint64_t cpu_sum(const struct node *head)
{
	uint64_t sum = 0;

	for (; head; head = head->next)
		sum += head->value + *(const uint64_t *)head->payload;
	return sum;
}

static struct node *push(struct node *head, uint64_t value)
{
	struct node *node = malloc(sizeof(*node));
	char *payload = malloc(value % 4 ? 64 : 256 << 10);

	if (!node || !payload)
		exit(1);
	*node = (struct node){.next = head, .value = value, .payload = payload};
	*(uint64_t *)payload = value * 1000;
	return node;
}

/* Every third node goes. */
static void thin(struct node *head)
{
	for (unsigned int i = 0; head && head->next; i++, head = head->next) {
		struct node *gone = head->next;

		if (i % 3)
			continue;
		head->next = gone->next;
		free(gone->payload);
		free(gone);
		if (!head->next)
			break;
	}
}

int main(void)
{
	struct hmmu_mm_options options = {.size = sizeof(options),
					  .sources = HMMU_SOURCE_HOOKS};
	struct hmmu_mirror_stats stats;
	struct hmmu_mirror *mirror;
	struct node *head = NULL;
	struct mm_struct *mm;
	uint64_t value = 1, sum;
	long ret;

	if (hmmu_mm_open(&mm, &options)) {
		fprintf(stderr, "hooks: %s\n", hmmu_source_why(HMMU_SOURCE_HOOKS));
		return 77;
	}
	if (hmmu_mirror_open(&mirror, mm, NULL, NULL, NULL)) /* the whole address space */
		return 1;
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 200; i++)
			head = push(head, value++);
		thin(head);
		ret = device_sum(mirror, head, &sum);
		hmmu_mirror_stat(mirror, &stats);
		printf("kernel %d: sum %lu, %lu pages mapped, %lu faulted, %lu dropped so "
		       "far\n",
		       round, (unsigned long)sum, (unsigned long)stats.entries,
		       (unsigned long)stats.faults, (unsigned long)stats.dropped);
		if (ret || sum != cpu_sum(head)) {
			fprintf(stderr, "the device sees something else: %ld\n", ret);
			return 1;
		}
	}
	while (head) {
		struct node *next = head->next;

		free(head->payload);
		free(head);
		head = next;
	}
	/* What free() gave back to the kernel is in no page table any more. */
	hmmu_mirror_stat(mirror, &stats);
	printf("freed: %lu pages dropped in all\n", (unsigned long)stats.dropped);
	hmmu_mirror_close(mirror);
	return hmmu_mm_close(mm) || !stats.dropped;
}
