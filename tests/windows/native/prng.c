/* bcryptprimitives.dll for Wine 8, which lacks it: Rust's standard library takes random bytes from ProcessPrng.
   SystemFunction036 of advapi32 is documented as RtlGenRandom; it takes a 32-bit length. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    while (length > 0) {
        ULONG part = length > 1 << 24 ? 1 << 24 : (ULONG)length;
        if (!SystemFunction036(buffer, part)) return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
