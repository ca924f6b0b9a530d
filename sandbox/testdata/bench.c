// Loads for the benchmarks of instrumentation: loops of different lengths, and an interpreter.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

EXPORT("sum") uint32_t sum(uint32_t n) {
	uint32_t s = 1;
	for (uint32_t i = 0; i < n; i++) s = s * 31 + i;
	return s;
}

static uint8_t composite[1 << 20];

EXPORT("sieve") uint32_t sieve(uint32_t n) {
	memset(composite, 0, n);
	uint32_t count = 0;
	for (uint32_t i = 2; i < n; i++) {
		if (composite[i]) continue;
		count++;
		for (uint64_t j = (uint64_t)i * i; j < n; j += i) composite[j] = 1;
	}
	return count;
}

static double a[128][128], b[128][128], c[128][128];

EXPORT("matrix") double matrix(uint32_t n) {
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) a[i][j] = i + j, b[i][j] = i - (double)j, c[i][j] = 0;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < n; k++)
			for (uint32_t j = 0; j < n; j++) c[i][j] += a[i][k] * b[k][j];
	return c[n / 2][n / 3];
}

// A stack machine that counts down and adds up, with a big switch in a loop as interpreters have.
enum { PUSH, ADD, MUL, SWAP, DUP, SUB, AND, JNZ, ROT, HALT };

EXPORT("bytecode") int32_t bytecode(int32_t n) {
	static const int32_t code[] = {DUP, ROT, ADD, PUSH, 0x7fffff, AND, SWAP, PUSH, 1, SUB, JNZ, 0, HALT};
	int32_t stack[16] = {0, n}, sp = 2, pc = 0, t;
	for (;;) {
		switch (code[pc++]) {
		case PUSH: stack[sp++] = code[pc++]; break;
		case ADD: sp--, stack[sp - 1] += stack[sp]; break;
		case MUL: sp--, stack[sp - 1] *= stack[sp]; break;
		case SWAP: t = stack[sp - 1], stack[sp - 1] = stack[sp - 2], stack[sp - 2] = t; break;
		case DUP: stack[sp] = stack[sp - 1], sp++; break;
		case SUB: sp--, stack[sp - 1] -= stack[sp]; break;
		case AND: sp--, stack[sp - 1] &= stack[sp]; break;
		case JNZ: if (stack[sp - 1] != 0) pc = code[pc]; else pc++; break;
		case ROT: t = stack[sp - 3], stack[sp - 3] = stack[sp - 2], stack[sp - 2] = stack[sp - 1], stack[sp - 1] = t; break;
		default: return stack[0];
		}
	}
}

int main(void) { return 0; }
