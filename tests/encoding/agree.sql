-- What PostgreSQL makes of every byte sequence that might be a character: one line each,
--
--     encoding | bytes in hex | characters, -1 if it is not text | the same in UTF-8, in hex, or '-' if it has none

\set ON_ERROR_STOP on
SET client_min_messages = error;

CREATE FUNCTION pg_temp.characters(bytes bytea, encoding name) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN length(bytes, encoding);
EXCEPTION WHEN OTHERS THEN
    RETURN -1;
END $$;

CREATE FUNCTION pg_temp.utf8(bytes bytea, encoding name) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN encode(convert_to(convert_from(bytes, encoding), 'UTF8'), 'hex');
EXCEPTION WHEN OTHERS THEN
    RETURN '-';
END $$;

CREATE FUNCTION pg_temp.hex(byte int) RETURNS text LANGUAGE sql AS $$ SELECT lpad(to_hex(byte), 2, '0') $$;

CREATE TEMP TABLE sequence (encoding name, bytes text);

-- Everything of one and two bytes.
INSERT INTO sequence
    SELECT encoding, pg_temp.hex(a)
    FROM unnest(array['SQL_ASCII', 'LATIN1', 'LATIN2', 'LATIN3', 'LATIN4', 'LATIN5', 'LATIN6', 'LATIN7', 'LATIN8', 'LATIN9', 'LATIN10',
                      'ISO_8859_5', 'ISO_8859_6', 'ISO_8859_7', 'ISO_8859_8', 'KOI8R', 'KOI8U', 'WIN866', 'WIN874', 'WIN1250', 'WIN1251',
                      'WIN1252', 'WIN1253', 'WIN1254', 'WIN1255', 'WIN1256', 'WIN1257', 'WIN1258']) encoding,
         generate_series(1, 255) a;
CREATE TEMP TABLE multibyte AS
    SELECT unnest(array['UTF8', 'EUC_JP', 'EUC_CN', 'EUC_KR', 'EUC_TW', 'EUC_JIS_2004', 'MULE_INTERNAL', 'SJIS', 'SHIFT_JIS_2004', 'BIG5',
                        'GBK', 'UHC', 'GB18030', 'JOHAB']) encoding;
INSERT INTO sequence
    SELECT encoding, pg_temp.hex(a) FROM multibyte, generate_series(1, 255) a
    UNION ALL
    SELECT encoding, pg_temp.hex(a) || pg_temp.hex(b) FROM multibyte, generate_series(128, 255) a, generate_series(1, 255) b;

-- Of three, in the encodings that have such.
INSERT INTO sequence
    SELECT encoding, '8f' || pg_temp.hex(a) || pg_temp.hex(b)
    FROM unnest(array['EUC_JP', 'EUC_JIS_2004', 'EUC_TW', 'EUC_KR']) encoding, generate_series(160, 255) a, generate_series(160, 255) b
    UNION ALL
    SELECT 'UTF8', pg_temp.hex(a) || pg_temp.hex(b) || pg_temp.hex(c)
    FROM generate_series(223, 248) a, generate_series(127, 192) b, unnest(array[127, 128, 160, 191, 192]) c;

-- Of four, a sample, and in all encodings, so that there are also two characters, or one and half of another.
INSERT INTO sequence
    SELECT 'GB18030', pg_temp.hex(a) || pg_temp.hex(b) || pg_temp.hex(c) || pg_temp.hex(d)
    FROM unnest(array[129, 132, 144]) a, generate_series(48, 57) b, generate_series(129, 254) c, generate_series(48, 57) d
    UNION ALL
    SELECT 'EUC_TW', '8ea2' || pg_temp.hex(a) || pg_temp.hex(b) FROM generate_series(161, 254) a, generate_series(161, 254) b
    UNION ALL
    SELECT 'UTF8', pg_temp.hex(a) || pg_temp.hex(b) || '80bf' FROM generate_series(239, 248) a, generate_series(127, 192) b
    UNION ALL
    SELECT encoding, pg_temp.hex(a) || pg_temp.hex(b) || pg_temp.hex(c) || 'a7'
    FROM multibyte, generate_series(128, 255) a, generate_series(48, 255, 23) b, generate_series(31, 255, 28) c;

SELECT encoding, bytes, pg_temp.characters(decode(bytes, 'hex'), encoding), pg_temp.utf8(decode(bytes, 'hex'), encoding)
FROM sequence ORDER BY encoding;
